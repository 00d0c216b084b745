// What no page needs to work: the progress of an upload, and files that are dropped on its form.
"use strict";

const form = document.getElementById("upload");

if (form) {
  const files = form.querySelector("#file"), bar = form.querySelector("#sent"), said = form.querySelector("#said");

  form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    files.files = event.dataTransfer.files;
    files.focus();
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.responseType = "document";
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      bar.value = total ? 100 * loaded / total : 0;
      said.textContent = loaded < total ? `${Math.round(bar.value)} % sent` : "Storing…";
    });
    request.addEventListener("load", () => {
      if (request.status < 400) { location.assign(request.responseURL); return; }
      finish(request.response?.querySelector(".problem")?.textContent ?? `It failed with status ${request.status}.`);
    });
    request.addEventListener("error", () => finish("The connection broke: nothing was stored. Send it again."));
    bar.hidden = false;
    form.classList.remove("failed");
    request.send(new FormData(form));
  });

  function finish(message) {
    bar.hidden = true;
    form.classList.add("failed");
    said.textContent = message;
  }
}
