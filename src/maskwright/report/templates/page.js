"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...[...table.tHead.rows].at(-1).cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const falls = column ? head.ariaSort !== "descending" : head.ariaSort === "ascending";
    const sign = falls ? -1 : 1;
    const key = row => column ? parseFloat(row.cells[column].dataset.value) : row.cells[0].textContent;
    const compare = (a, b) => {
      if (!column) return sign * a.localeCompare(b);
      return isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) : sign * (a - b);
    };
    const keyed = [...body.rows].map(row => [key(row), row]);
    keyed.sort((a, b) => compare(a[0], b[0]));
    body.append(...keyed.map(pair => pair[1]));
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  }));
}
for (const part of document.querySelectorAll(".curves")) {
  const choice = part.querySelector(".choice");
  if (!choice) continue;
  const select = choice.querySelector("select");
  const categories = JSON.parse(part.querySelector("script").textContent);
  const drawing = part.querySelector(".plot > svg");
  const paths = [...drawing.querySelectorAll("path")];
  const numbers = [...part.querySelectorAll(".legend b")];
  const whole = [...numbers.map(number => number.textContent), ...paths.map(path => path.getAttribute("d"))];
  const [left, top, width, height] = ["left", "top", "width", "height"].map(name => +drawing.dataset[name]);
  const unpacked = code => {
    const last = code.length / 2 - 1;
    const point = (x, y) => (left + width * x / 100).toFixed(1) + " " + (top + height * (1 - y)).toFixed(1);
    const points = [];
    for (let i = 0; i <= last; i++) points.push(point(i, parseInt(code.slice(2 * i, 2 * i + 2), 16) / 255));
    if (last >= 0 && last < 100) points.push(point(last, 0));
    return points.length ? "M" + points.join("L") : "";
  };
  categories.forEach((category, place) => select.add(new Option(category[0], place)));
  select.addEventListener("change", () => {
    const category = select.value === "" ? null : categories[select.value];
    numbers.forEach((number, place) => number.textContent = category ? category[1 + place] : whole[place]);
    paths.forEach((path, place) => path.setAttribute("d", category ? unpacked(category[4 + place]) : whole[3 + place]));
  });
  choice.hidden = false;
}
