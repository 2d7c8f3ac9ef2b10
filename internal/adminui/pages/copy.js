for (const e of document.querySelectorAll("[data-copy]")) {
  const b = document.createElement("button");
  b.type = "button"; b.className = "copy"; b.textContent = "Copy";
  b.setAttribute("aria-label", "Copy " + (e.dataset.copy || e.textContent.slice(0, 60)));
  b.onclick = async () => {
    try { await navigator.clipboard.writeText(e.textContent); b.textContent = "Copied"; } catch { b.textContent = "Not copied"; }
    b.onblur = () => { b.textContent = "Copy"; };
  };
  e.after(" ", b);
}
