// What scrolls begins where the report points: figures at the onset, log lines at what is cited.
document.addEventListener("DOMContentLoaded", () => {
  for (const plot of document.querySelectorAll(".plot")) {
    const mark = plot.querySelector("path.s-bad");
    if (!mark || plot.scrollWidth <= plot.clientWidth) continue;
    const left = mark.getBoundingClientRect().left - plot.getBoundingClientRect().left;
    plot.scrollLeft = left - plot.clientWidth / 2;
  }
  for (const lines of document.querySelectorAll(".lines")) {
    const mark = lines.querySelector(".first") || lines.querySelector("mark");
    if (mark) lines.scrollTop = mark.offsetTop - lines.clientHeight / 2;
  }
});
