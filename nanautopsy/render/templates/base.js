"use strict";
// A page works without this: it only adds a theme, sorting, filtering and copying.
const page = (() => {
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

  // A field to filter a table with, and how much is shown, above it.
  const makeTools = (table, say) => {
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
    return { tools, input, shown };
  };

  const wordsOf = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);

  const addFilter = (table, say) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length <= FILTER_FROM) return;
    const { tools, input, shown } = makeTools(table, say);
    let texts = null;
    input.addEventListener("input", () => {
      texts ??= rows.map((row) => row.textContent.toLowerCase());
      const words = wordsOf(input);
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

  const collator = new Intl.Collator("en", { numeric: true });

  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // words after numbers
    return collator.compare(a, b);
  };

  // Up, down, and back to the order of the report. What is not known comes last.
  const sorted = (items, keyOf, direction) => {
    if (!direction) return items;
    const pairs = items.map((item) => [keyOf(item), item]);
    const known = pairs.filter((pair) => pair[0] !== "");
    const unknown = pairs.filter((pair) => pair[0] === "");
    const sign = direction === "ascending" ? 1 : -1;
    known.sort((a, b) => sign * compare(a[0], b[0]));
    return [...known, ...unknown].map((pair) => pair[1]);
  };

  // The next direction of a heading: the others lose theirs.
  const turn = (heading) => {
    const next = { null: "ascending", ascending: "descending", descending: null }[heading.getAttribute("aria-sort")];
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    if (next) heading.setAttribute("aria-sort", next);
    return next;
  };

  // Buttons in the headings of a table; ``act`` gets the column and the direction.
  const addSorters = (table, act) => {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      if (!heading.textContent) return;
      const sorter = button("", heading.textContent);
      heading.replaceChildren(sorter);
      sorter.addEventListener("click", () => act(column, turn(heading)));
    });
  };

  const addSorting = (table) => {
    const order = [...table.tBodies[0].rows];
    if (order.length < 2) return;
    addSorters(table, (column, direction) => {
      table.tBodies[0].append(...sorted(order, (row) => key(row, column), direction));
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

  return { button, makeTools, wordsOf, sorted, addSorters };
})();
