"use strict";
// The page works without this: it only adds filtering, sorting and copying.
(() => {
  const FILTER_FROM = 12; // rows above which a table gets a filter

  const say = document.body.dataset; // the page's own words, in its language

  const filter = (table) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length <= FILTER_FROM) return;
    const tools = document.createElement("div");
    const input = document.createElement("input");
    const shown = document.createElement("span");
    tools.className = "tools";
    input.type = "search";
    input.placeholder = say.filter;
    input.setAttribute("aria-label", say.filter + " " + table.parentElement.getAttribute("aria-label"));
    shown.setAttribute("role", "status");
    tools.append(input, shown);
    table.parentElement.before(tools);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        if (!row.hidden) count += 1;
      });
      shown.textContent = words.length
        ? say.shown.replace("{n}", count).replace("{all}", rows.length)
        : "";
    });
  };

  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.textContent.trim();
  };

  const compare = (a, b) => {
    const numbers = typeof a === "number" && typeof b === "number";
    if (numbers) return a - b;
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };

  const sort = (table) => {
    const body = table.tBodies[0];
    if (body.rows.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      if (!heading.textContent) return;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = heading.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].map((row) => [key(row, column), row]);
        rows.sort((a, b) => (up ? compare(a[0], b[0]) : compare(b[0], a[0])));
        body.append(...rows.map((pair) => pair[1]));
      });
    });
  };

  const copy = (block) => {
    if (!navigator.clipboard) return;
    const button = document.createElement("button");
    const text = block.textContent;
    button.type = "button";
    button.className = "copy";
    button.textContent = say.copy;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = say.copied;
      } catch {
        button.textContent = say.byHand;
      }
    });
    block.append(button);
  };

  // On a narrow screen a figure scrolls: begin at the onset.
  const center = (plot) => {
    const mark = plot.querySelector("path.s-bad");
    if (!mark || plot.scrollWidth <= plot.clientWidth) return;
    const left = mark.getBoundingClientRect().left - plot.getBoundingClientRect().left;
    plot.scrollLeft = left - plot.clientWidth / 2;
  };

  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
    }
  };

  document.querySelectorAll("table.data").forEach((table) => {
    filter(table);
    sort(table);
  });
  document.querySelectorAll("pre").forEach(copy);
  document.querySelectorAll(".plot").forEach(center);
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
  });
  reveal();
})();
