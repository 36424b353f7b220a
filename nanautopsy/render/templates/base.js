"use strict";
// A page works without this: it only adds a theme, sorting, filtering and copying.
(() => {
  const FILTER_FROM = 12; // rows above which a table gets a filter
  const THEMES = ["auto", "light", "dark"];

  const remembered = () => {
    try {
      return localStorage.getItem("nanautopsy-theme") || "auto";
    } catch {
      return "auto"; // some browsers keep nothing for a page from disk
    }
  };

  const wear = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };

  let theme = THEMES.includes(remembered()) ? remembered() : "auto";
  wear(theme); // before anything is painted

  const button = (className, words) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = className;
    made.textContent = words;
    return made;
  };

  const addThemes = (say) => {
    const words = { auto: say.themeAuto, light: say.themeLight, dark: say.themeDark };
    const toggle = button("theme", words[theme]);
    toggle.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      wear(theme);
      toggle.textContent = words[theme];
      try {
        localStorage.setItem("nanautopsy-theme", theme);
      } catch {
        // then it holds until the page is closed
      }
    });
    document.querySelector(".top").append(toggle);
  };

  const addFilter = (table, say) => {
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
    let texts = null;
    input.addEventListener("input", () => {
      texts ??= rows.map((row) => row.textContent.toLowerCase());
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
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };

  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // words after numbers
    return a.localeCompare(b, "en", { numeric: true });
  };

  // Up, down, and back to the order of the report. What is not known comes last.
  const sort = (table, heading, column, order) => {
    const up = heading.ariaSort === null;
    const back = heading.ariaSort === "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    if (!back) heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const pairs = order.map((row) => [key(row, column), row]);
    const known = pairs.filter((pair) => pair[0] !== "");
    const unknown = pairs.filter((pair) => pair[0] === "");
    if (!back) known.sort((a, b) => (up ? compare(a[0], b[0]) : compare(b[0], a[0])));
    table.tBodies[0].append(...(back ? order : [...known, ...unknown].map((pair) => pair[1])));
  };

  const addSorting = (table) => {
    const order = [...table.tBodies[0].rows];
    if (order.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      if (!heading.textContent) return;
      const sorter = button("", heading.textContent);
      heading.replaceChildren(sorter);
      sorter.addEventListener("click", () => sort(table, heading, column, order));
    });
  };

  const addCopying = (block, say) => {
    if (!navigator.clipboard) return;
    const frame = document.createElement("div");
    const copier = button("copy", say.copy);
    const text = block.textContent;
    frame.className = "framed";
    block.before(frame);
    frame.append(block, copier);
    copier.setAttribute("aria-live", "polite");
    copier.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        copier.textContent = say.copied;
      } catch {
        copier.textContent = say.byHand;
      }
    });
  };

  // Whatever hides the part that a link leads to is opened, and a filter that hides it is cleared.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
      if (node.hidden) {
        const input = node.closest(".table").querySelector(".tools input");
        input.value = "";
        input.dispatchEvent(new Event("input"));
      }
    }
    target.scrollIntoView();
  };

  document.addEventListener("DOMContentLoaded", () => {
    const say = document.body.dataset; // the page's own words, in its language
    addThemes(say);
    document.querySelectorAll("table.data").forEach((table) => {
      addFilter(table, say);
      addSorting(table);
    });
    document.querySelectorAll("pre").forEach((block) => addCopying(block, say));
    reveal();
  });
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
  });
})();
