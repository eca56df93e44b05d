// The clips of the server's index, where it has one: words in, the nearest ones out.

async function search(event) {
  event.preventDefault();
  const text = byId("query").value.trim();
  if (!text) return byId("query").focus();
  const body = new FormData();
  body.append("text", text);
  byId("found").textContent = "Looking …";
  byId("hits").replaceChildren();
  try {
    const { hits } = await fetched("v1/search", { method: "POST", body });
    byId("found").textContent = hits.length ? `The nearest ${hits.length}, the best first:` : "Nothing was found.";
    byId("hits").replaceChildren(...hits.map(hitLine));
  } catch (problem) {
    byId("found").textContent = "";
    if (!problem.code) throw problem;
    tellProblem(problem, () => byId("searching").requestSubmit());
  }
}

function hitLine({ score, id, file, start, end, text, labels, speaker }) {
  const when = start === null ? "" : `${clock(start)}–${clock(end)}`;
  const more = [when, ...Object.values(labels), speaker && `speaker ${speaker}`].filter(Boolean).join(" · ");
  return element("li", {}, element("b", {}, score.toFixed(2)), element("span", {}, text || file || id), element("span", { className: "quiet" }, more));
}

byId("searching").addEventListener("submit", search);
