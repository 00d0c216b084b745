// Uploads a PDF, waits, searches and reads: node openai_client.cjs BASE_URL FILE, with the package openai in NODE_PATH.
const fs = require("node:fs");
const { OpenAI } = require("openai");

async function main(baseURL, path) {
  const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
  const store = await client.vectorStores.create({ name: "handbook" });
  const file = await client.vectorStores.files.uploadAndPoll(store.id, fs.createReadStream(path));
  const page = await client.vectorStores.search(store.id, { query: "Where do ships sail?" });
  const batch = await client.vectorStores.fileBatches.uploadAndPoll(store.id, { files: [fs.createReadStream(path)] });
  const ids = [];
  for await (const each of client.vectorStores.files.list(store.id, { limit: 1, order: "asc" })) ids.push(each.id);
  const [hit] = page.data;
  const statuses = [file.status, batch.status];
  console.log(JSON.stringify({ statuses, file: file.id, ids, hit: [hit.file_id, hit.filename, hit.content[0].text] }));
}

main(...process.argv.slice(2));
