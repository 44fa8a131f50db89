"use strict";
// Enlarges the images of the page. Left and right show the other images of the same list.
// Without this script, or in a browser without <dialog>, a link opens the image in full size.
(() => {
  const box = document.createElement("dialog");
  if (!box.showModal) return;
  const SWIPE = 40; // pixels
  const add = (tag, name, text, label) => {
    const part = document.createElement(tag);
    part.className = name;
    part.textContent = text;
    if (label) part.setAttribute("aria-label", label);
    box.append(part);
    return part;
  };
  box.className = "box";
  box.setAttribute("aria-label", "enlarged image");
  const back = add("button", "back", "\u2039", "previous image");
  const image = add("img", "", "");
  const on = add("button", "on", "\u203a", "next image");
  const caption = add("p", "", "");
  caption.setAttribute("aria-live", "polite");
  const close = add("button", "close", "\u00d7", "close");
  close.autofocus = true;
  document.body.append(box);

  let links = [];
  let shown = 0;
  const show = (i) => {
    shown = (i + links.length) % links.length;
    const link = links[shown];
    const small = link.querySelector("img");
    // a page without its folder still has the small image
    image.onerror = () => { image.onerror = null; image.src = small.src; };
    image.src = link.href;
    image.alt = small.alt;
    const place = document.createElement("small");
    place.textContent = [link.dataset.of, `${shown + 1} of ${links.length}`].filter(Boolean).join(" \u00b7 ");
    const text = [...link.parentNode.querySelector("figcaption").childNodes].map((part) => part.textContent);
    caption.replaceChildren(text.filter(Boolean).join(", "), place);
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest(".strip a");
    // other buttons and keys open a tab or a window, as for any link
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    links = [...link.closest(".card").querySelectorAll(".strip a")];
    show(links.indexOf(link));
    box.showModal();
    document.documentElement.style.overflow = "hidden"; // the page behind does not scroll
  });
  box.addEventListener("close", () => {
    document.documentElement.style.overflow = "";
    links[shown].scrollIntoView({ block: "nearest", inline: "nearest" });
    links[shown].focus();
  });
  back.onclick = () => show(shown - 1);
  on.onclick = () => show(shown + 1);
  close.onclick = () => box.close();
  image.onclick = () => box.close();
  box.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(to);
  });

  let start = null;
  let swiped = false;
  image.addEventListener("touchstart", (event) => {
    swiped = false;
    start = event.touches.length === 1 ? event.touches[0].clientX : null; // two fingers zoom
  }, { passive: true });
  image.addEventListener("touchend", (event) => {
    if (start === null) return;
    const moved = event.changedTouches[0].clientX - start;
    start = null;
    if (Math.abs(moved) < SWIPE) return;
    swiped = true;
    show(shown + (moved < 0 ? 1 : -1));
  });
  image.addEventListener("click", (event) => { if (swiped) event.stopImmediatePropagation(); }, true);
})();
