"use strict";
const at = (name) => document.getElementById(name);

function headers(more) {
  const key = at("key").value.trim();
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").className = wrong ? "wrong" : "";
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const line = part.split("\n").find((each) => each.startsWith("data: "));
      if (line) yield JSON.parse(line.slice(6));
    }
  }
}

async function follow(id, signal) {
  try {
    const response = await fetch(`events?id=${id}`, { headers: headers({}), signal });
    for await (const event of events(response)) {
      const [done, total] = event.event === "step" ? [event.number, event.total] : [event.count, event.total];
      if (total) {
        at("progress").value = done / total;
        say(event.event === "step" ? `painting: step ${done} of ${total}` : `writing: token ${done} of ${total}`);
      }
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

function show(event, prompt, figure) {
  const image = figure.querySelector("img") || figure.appendChild(document.createElement("img"));
  image.src = `data:image/${event.output_format};base64,${event.b64_json}`;
  image.alt = prompt;
  if (event.seed !== undefined) {
    figure.appendChild(document.createElement("figcaption")).textContent = `${prompt} (seed ${event.seed}, ${event.size})`;
  }
}

function body(prompt) {
  const form = new FormData();
  const fields = { prompt, n: at("count").value, size: at("size").value || "auto", seed: at("seed").value, stream: "true", partial_images: "1" };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const file of at("sources").files) form.append("image[]", file);
  return form;
}

async function draw() {
  const prompt = at("prompt").value, id = crypto.getRandomValues(new Uint32Array(2)).join("-"), end = new AbortController();
  const path = at("sources").files.length ? "v1/images/edits" : "v1/images/generations";
  at("progress").hidden = false;
  at("progress").removeAttribute("value");
  say("waiting");
  follow(id, end.signal);
  let failed = "", draft = null;
  try {
    const response = await fetch(path, { method: "POST", headers: headers({ "X-Request-Id": id }), body: body(prompt) });
    if (!response.ok) failed = (await response.json()).error.message;
    else for await (const event of events(response)) {
      if (event.error) { failed = event.error.message; continue; }
      const figure = draft || document.createElement("figure");
      if (!draft) at("pictures").prepend(figure);
      draft = event.type.endsWith("partial_image") ? figure : null;
      show(event, prompt, figure);
    }
  } catch (error) {
    failed = String(error);
  }
  end.abort();
  at("progress").hidden = true;
  say(failed || "done", Boolean(failed));
}

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = at("ask").querySelector("button");
  button.disabled = true;
  await draw();
  button.disabled = false;
});
