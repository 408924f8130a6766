"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  for (const list of document.querySelectorAll(".copy")) {
    const names = list.querySelector("pre");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", () => {
      getSelection().selectAllChildren(names);
      // The clipboard's own interface asks for permission; this one needs none.
      button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl+C";
    });
    names.before(button);
  }

  const body = document.querySelector(".worklist tbody");
  if (!body) return;
  const list = body.closest(".worklist");
  const rows = [...body.rows];
  const sample = byId("sample") ? [...byId("sample").content.querySelectorAll("tbody tr")] : [];
  const every = [...rows, ...sample];
  const weights = list.dataset.weights;
  const verdicts = new Map();

  // Each verdict lies under its case and these weights. The key names nobody.
  const key = (row) => `cxr-screen ${weights.slice(0, 16)} ${row.dataset.case}`;
  let kept = true;
  const keep = (row, verdict) => {
    try {
      if (verdict) localStorage.setItem(key(row), JSON.stringify(verdict));
      else localStorage.removeItem(key(row));
    } catch {
      kept = false;
    }
  };
  const recall = (row) => {
    try {
      const found = JSON.parse(localStorage.getItem(key(row)));
      return found && found.verdict && found.at ? found : null;
    } catch {
      kept = false;
      return null;
    }
  };

  const number = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const showRow = (row) => {
    const given = verdicts.get(row);
    for (const button of row.querySelectorAll(".verdict button")) {
      button.setAttribute("aria-pressed", String(given !== undefined && given.verdict === button.value));
    }
  };
  const showJudged = () => {
    const where = kept
      ? "Kept in this browser until you save them."
      : "This browser keeps nothing: save before you leave the page.";
    byId("judged").textContent = `${number(verdicts.size, "verdict")} given. ${where}`;
    byId("save").disabled = verdicts.size === 0;
  };

  for (const row of every) {
    // Without a study nobody could say later what a verdict was about.
    if (!row.dataset.study) continue;
    const choice = byId("verdict").content.firstElementChild.cloneNode(true);
    choice.setAttribute("aria-label", `Is ${row.dataset.finding} there?`);
    choice.addEventListener("click", ({ target }) => {
      if (target.tagName !== "BUTTON") return;
      const before = verdicts.get(row);
      if (before && before.verdict === target.value) verdicts.delete(row);
      else verdicts.set(row, { verdict: target.value, at: new Date().toISOString() });
      keep(row, verdicts.get(row));
      showRow(row);
      showJudged();
    });
    row.lastElementChild.append(choice);
    const earlier = recall(row);
    if (earlier) verdicts.set(row, earlier);
    showRow(row);
  }

  // A click or Enter on a case's pictures shows them large; while a reader is blind, the film alone.
  const large = byId("large");
  const showLarge = (pair) => {
    const row = pair.closest("tr");
    const blind = list.classList.contains("blind");
    const images = [...pair.querySelectorAll("img")].slice(0, blind ? 1 : 2);
    byId("large-pictures").replaceChildren(...images.map((image) => image.cloneNode()));
    const said = [".rank", ".score", ".facts dd"].map((name) => row.querySelector(name)?.textContent);
    byId("large-title").textContent = blind ? "The film" : said.filter(Boolean).join(" · ");
    const file = blind ? null : pair.getAttribute("href");
    byId("large-file").hidden = !file;
    if (file) byId("large-file").href = file;
    large.showModal();
  };
  byId("large-close").addEventListener("click", () => large.close());
  // Beside the pictures is the dialog itself.
  large.addEventListener("click", ({ target }) => target === large && large.close());
  for (const pair of every.flatMap((row) => [...row.querySelectorAll(".pair")])) {
    pair.role = "button";
    pair.tabIndex = 0;
    pair.title = "show large";
    pair.addEventListener("click", (event) => {
      // Whoever wants the file in a tab of its own gets it.
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      showLarge(pair);
    });
    pair.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      showLarge(pair);
    });
  }

  const cell = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  byId("save").addEventListener("click", () => {
    const lines = [["study_instance_uid", "weights_digest", "finding", "verdict", "at"]];
    for (const row of every) {
      const given = verdicts.get(row);
      if (given) lines.push([row.dataset.study, weights, row.dataset.finding, given.verdict, given.at]);
    }
    const text = lines.map((line) => line.map(cell).join(",") + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "feedback.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });

  const numeric = new Set(["rank", "probability", "distance"]);
  const sort = () => {
    const chosen = byId("sort").value;
    const falling = chosen.startsWith("-");
    const field = chosen.replace("-", "");
    const compare = (a, b) => {
      const [left, right] = falling ? [b.dataset[field], a.dataset[field]] : [a.dataset[field], b.dataset[field]];
      const order = numeric.has(field) ? left - right : left < right ? -1 : Number(left > right);
      return order || a.dataset.rank - b.dataset.rank;
    };
    body.append(...[...body.rows].sort(compare));
  };

  const wanted = {
    "": () => true,
    warned: (row) => row.dataset.warned === "1",
    plain: (row) => row.dataset.warned === "0",
    unread: (row) => row.dataset.unread === "1",
    open: (row) => !verdicts.has(row),
  };
  const filter = () => {
    const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const finding = byId("finding").value;
    const isWanted = wanted[byId("show").value];
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      const fits = (!finding || row.dataset.finding === finding) && words.every((word) => text.includes(word));
      row.hidden = !(fits && isWanted(row));
      shown += !row.hidden;
    }
    byId("count").textContent = `${shown} of ${number(body.rows.length, "case")} shown`;
  };

  // Read blind: flagged cases and others in no order, without what the model said of them.
  const showBlind = (blind, said) => {
    list.classList.toggle("blind", blind);
    byId("tools").hidden = blind;
    byId("mix").textContent = blind
      ? "Done: show which were flagged"
      : `Read blind: ${sample.length} random cases that are not flagged are mixed in`;
    byId("mixed").textContent = said;
  };
  byId("mix").addEventListener("click", () => {
    const blind = !list.classList.contains("blind");
    if (blind) {
      byId("show").value = byId("finding").value = byId("words").value = "";
      const order = new Map(every.map((row) => [row, Math.random()]));
      body.append(...every.sort((a, b) => order.get(a) - order.get(b)));
      for (const link of body.querySelectorAll("a.pair")) {
        link.dataset.href = link.getAttribute("href");
        link.removeAttribute("href");
      }
      filter();
      showBlind(true, "When you are done, the page tells which of these were flagged.");
      return;
    }
    for (const link of body.querySelectorAll("a.pair")) link.href = link.dataset.href;
    byId("sort").value = "rank";
    sort();
    const right = sample.filter((row) => verdicts.get(row)?.verdict === "agree").length;
    showBlind(false, `The last ${number(sample.length, "case")} were not flagged. In ${right} of them you saw the finding.`);
  });

  byId("sort").addEventListener("change", sort);
  for (const id of ["show", "finding", "words"]) byId(id).addEventListener("input", filter);
  // The first entry stands for any finding.
  byId("finding").parentElement.hidden = byId("finding").options.length <= 2;
  byId("tools").hidden = false;
  byId("feedback").hidden = !rows.some((row) => row.dataset.study);
  byId("blind").hidden = sample.length === 0;
  showBlind(false, "");
  // A browser may bring back what was chosen before the page was loaded again.
  sort();
  filter();
  showJudged();
})();
