"use strict";
// Keeps the overview fresh: asks for its changing parts every few seconds, and replaces those that changed. Without this
// script the page is the same, and a reload brings it up to date.
(() => {
  const main = document.querySelector("main[data-source]");
  const controls = document.getElementById("live-controls");
  if (!main || !controls) return;

  const EVERY = 10_000;
  const PATIENCE = 30_000;
  // What moves by itself can be stopped, and does not begin for those who do not want it to.
  let running = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let timer;

  const button = document.createElement("button");
  const message = document.createElement("span");
  button.type = "button";
  message.setAttribute("role", "status");
  controls.append(message, button);

  const show = (text) => {
    button.textContent = running ? "Pause updates" : "Update by itself";
    if (message.textContent !== text) message.textContent = text;
  };

  const inUse = (part) => {
    const selection = getSelection();
    const selected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    return selected || part.contains(document.activeElement);
  };

  const replace = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = document.getElementById(part.id);
      if (!old || inUse(old)) continue;
      for (const open of old.querySelectorAll("details[open]")) {
        const same = part.querySelector("#" + CSS.escape(open.id));
        if (same) same.open = true;
      }
      // A region that is announced stays, and has its content changed.
      if (old.innerHTML !== part.innerHTML) old.replaceChildren(...part.childNodes);
    }
  };

  const update = async () => {
    clearTimeout(timer);
    if (!running || document.hidden) return;
    try {
      const signal = AbortSignal.timeout(PATIENCE);
      const answer = await fetch(main.dataset.source, { redirect: "error", cache: "no-store", signal });
      if (answer.status === 403) {
        running = false;
        show("Your certificate is no longer accepted.");
        return;
      }
      if (!answer.ok) throw new Error(answer.statusText);
      replace(await answer.text());
      main.dataset.updates = Number(main.dataset.updates || 0) + 1;
      show("");
    } catch {
      show("No answer; trying again.");
    }
    timer = setTimeout(update, EVERY);
  };

  button.addEventListener("click", () => {
    running = !running;
    show("");
    update();
  });
  document.addEventListener("visibilitychange", update);
  show("");
  timer = setTimeout(update, EVERY);
})();
