// The table of runs: all of them as data, a page of rows at a time.
(() => {
  const PAGE = 100;
  const MOST_PRINTED = 2000;

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return made;
  };

  const makeCell = (strings, column, i) => {
    const cell = element("td", column.bad?.[i] ? "bad" : "");
    if (column.numbers && column.numbers[i] !== null) cell.dataset.value = column.numbers[i];
    const text = strings[column.texts[i]];
    if (!text) return cell;
    let holder = cell;
    if (column.links && strings[column.links[i]]) {
      holder = element("a");
      holder.setAttribute("href", strings[column.links[i]]);
      cell.append(holder);
    }
    if (column.code) holder.append(element("code", "", text));
    else holder.textContent = text;
    return cell;
  };

  const makeChoice = (heading, column, strings, say) => {
    const counts = new Map();
    for (const text of column.texts) if (text) counts.set(text, (counts.get(text) ?? 0) + 1);
    if (counts.size < 2) return null;
    const label = element("label", "", heading);
    const select = element("select");
    select.append(new Option(say.all, ""));
    for (const [text, count] of [...counts].sort((a, b) => b[1] - a[1])) {
      select.append(new Option(`${strings[text]} (${count})`, text));
    }
    label.append(select);
    return { label, select, column };
  };

  const setUp = (table, say) => {
    const { strings, columns } = JSON.parse(document.getElementById(table.dataset.rows).textContent);
    const all = Array.from(columns[0].texts, (_, i) => i);
    const headings = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    const { tools, input, shown } = page.makeTools(table, say);
    const choices = headings
      .map((heading, c) => columns[c].choose && makeChoice(heading, columns[c], strings, say))
      .filter(Boolean);
    const pager = element("div", "pager");
    const range = element("span");
    const previous = page.button("", say.previous);
    const next = page.button("", say.next);
    let order = all;
    let fitting = all;
    let first = 0;
    let texts = null;

    const show = (most = PAGE) => {
      const rows = fitting.slice(first, first + most).map((i) => {
        const row = element("tr");
        row.append(...columns.map((column) => makeCell(strings, column, i)));
        return row;
      });
      table.tBodies[0].replaceChildren(...rows);
      range.textContent = rows.length
        ? say.range.replace("{first}", first + 1).replace("{last}", first + rows.length)
          .replace("{n}", fitting.length)
        : say.none;
      previous.disabled = first === 0;
      next.disabled = first + PAGE >= fitting.length;
    };

    const filter = () => {
      const words = page.wordsOf(input);
      const chosen = choices.filter((choice) => choice.select.value);
      texts ??= all.map((i) => columns.map((c) => strings[c.texts[i]]).join("\n").toLowerCase());
      fitting = order.filter(
        (i) => chosen.every((choice) => choice.column.texts[i] === Number(choice.select.value))
          && words.every((word) => texts[i].includes(word)),
      );
      first = 0;
      shown.textContent = words.length || chosen.length
        ? say.shown.replace("{n}", fitting.length).replace("{all}", all.length)
        : "";
      show();
    };

    const turnTo = (place) => {
      first = place;
      show();
      table.parentElement.scrollTop = 0;
      document.getElementById("runs").scrollIntoView();
    };

    choices.forEach(({ label, select }) => {
      select.addEventListener("change", filter);
      tools.insertBefore(label, shown);
    });
    input.addEventListener("input", filter);
    previous.addEventListener("click", () => turnTo(Math.max(0, first - PAGE)));
    next.addEventListener("click", () => turnTo(first + PAGE));
    if (all.length > 1) {
      page.addSorters(table, (c, direction) => {
        const { numbers, texts: words } = columns[c];
        const keyOf = (i) => numbers?.[i] ?? strings[words[i]];
        order = page.sorted(all, keyOf, direction);
        filter();
      });
    }
    range.setAttribute("role", "status");
    pager.append(previous, range, next);
    pager.hidden = all.length <= PAGE;
    table.parentElement.after(pager);
    table.closest(".table").querySelector(".note")?.remove(); // nothing is left out any more
    show();

    // A group's link shows its runs alone.
    document.querySelectorAll("[data-choose]").forEach((link) => {
      link.addEventListener("click", () => {
        input.value = "";
        for (const { select, column } of choices) {
          const text = strings.indexOf(link.dataset.choose);
          select.value = column.texts.includes(text) ? String(text) : "";
        }
        filter();
      });
    });
    addEventListener("beforeprint", () => { first = 0; show(MOST_PRINTED); });
    addEventListener("afterprint", () => show());
  };

  document.addEventListener("DOMContentLoaded", () => {
    // What scrolls begins where the latest is.
    for (const plot of document.querySelectorAll(".plot")) plot.scrollLeft = plot.scrollWidth;
    document.querySelectorAll("table.long").forEach((table) => setUp(table, document.body.dataset));
  });
})();
