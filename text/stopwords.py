"""Stop words of the most common languages.

They are removed from queries only, so a list can change without reindexing. A language without a list loses little:
BM25 gives words of many chunks almost no weight. The lists are short on purpose: longer ones, such as those of the
package stop-words, drop words that distinguish passages (measured, docs/decisions/0016).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

_FOR_OTHERS_THAN_ENGLISH = 2


def stop_words(words: Sequence[str]) -> frozenset[str]:
    """Returns the list with the most of the folded *words*; another list than English needs at least two of them."""
    counts = {language: sum(word in each for word in words) for language, each in STOP_WORDS.items()}
    best = max(counts, key=counts.__getitem__)
    return STOP_WORDS[best if counts[best] >= _FOR_OTHERS_THAN_ENGLISH else "en"]


# Folded: without diacritics, ß as ss; ى is ي. In a tie the first language wins.
STOP_WORDS = MappingProxyType(
    {
        language: frozenset(words.split())
        for language, words in {
            "en": (
                "a about an and are as at be been being but by can could did do does during for from had has have he "
                "her him his how i if in into is it its may me might my no nor not of on or our she should so such "
                "than that the their them then there these they this those to us was we were what when where which "
                "while who whom whose why will with would you your"
            ),
            "de": (
                "aber als am an auch auf aus bei bin bis bist da damit dann das dass dem den denn der deren des "
                "dessen die dies diese diesem diesen dieser dieses doch du durch ein eine einem einen einer eines er "
                "es etwas fur gegen habe haben hat hatte hatten ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in "
                "ist ja kann kein keine konnen man mein mit muss nach nicht noch nun nur ob oder ohne sehr seid sein "
                "seine seinem seinen seiner sich sie sind so soll sollte uber um und uns unter viel viele vom von vor "
                "wann war waren warum was weil welche welchem welchen welcher welches wem wen wenn wer werden wessen "
                "wie wieder wieso will wir wird wo woher wohin womit worauf wozu wurde wurden zu zum zur zwischen"
            ),
            "fr": (
                "ai au aussi aux avec avez avons ce ces cet cette combien comment dans de des donc du elle elles en "
                "est et etaient etait etre eu il ils je la le les leur leurs lui ma mais me mes mon ne nos notre nous "
                "on ont ou par pas peut plus pour pourquoi quand que quel quelle quelles quels qui quoi sa sans se "
                "ses si son sont sous sur ta te tes ton tu un une vos votre vous y"
            ),
            "es": (
                "a al ante como con cual cuales cuando cuanto cuantos de del desde donde e el ella ellas ellos en "
                "entre era eran es esa ese eso esta estaba estan este esto fue fueron ha han hasta hay la las le les "
                "lo los mas me mi mis muy nada ni no nos o para pero por porque que quien quienes se ser si sin sobre "
                "son su sus tambien te tiene tienen tu un una uno unos y ya yo"
            ),
            "it": (
                "a ad ai al alla alle allo anche che chi ci come con cosa cui da dal dalla dei del della delle dello "
                "di dove e ed era erano gli ha hanno i il in io la le lei lo loro lui ma mi nei nel nella nelle noi "
                "non o per perche piu qual quale quali quando quanti quanto quella quelle quelli quello questa queste "
                "questi questo se si sono su sua sue sui sul sulla suo suoi ti tra tu un una uno vi voi"
            ),
            "pt": (
                "a ao aos as ate com como da das de dela dele do dos e ela elas ele eles em entre era eram essa esse "
                "esta estao este eu foi foram ha isso isto ja lhe mais mas me meu minha muito na nao nas nem no nos o "
                "onde os ou para pela pelas pelo pelos por porque quais qual quando quanto quantos que quem sao se "
                "sem ser seu seus sua suas tambem te tem tu um uma voce"
            ),
            "nl": (
                "aan al als bij dan dat de der deze die dit doch door dus een en er ge geen haar had hadden heb "
                "hebben heeft hem het hij hoe hoeveel hun ik in is ja je kan kunnen maar me meer men met mij mijn na "
                "naar niet nog nu of om omdat ons ook op over te tegen toch toen tot u uit uw van veel voor waar "
                "waarom wanneer want waren was wat we welk welke werd werden wie wij wil worden wordt ze zich zij "
                "zijn zo zou"
            ),
            "ar": (
                "اذا الا التي الذي الذين الي ام ان انه انها او اي اين ايضا بعد بين تكون تم ثم حتي حول حيث خلال "
                "ذلك عن عند عندما علي فقد في فيه فيها قبل قد كان كانت كل كم كما كيف لا لكن لم لماذا لن له لها ليس "
                "ما ماذا متي مع من منذ منها منه نحو هذا هذه هل هم هما هن هناك هو هي و وفي وقد وكان وكانت ولا ولم "
                "ومن وهو وهي يتم يكون"
            ),
        }.items()
    }
)
