'use strict';
// Columns are sorted by data-v of their cells; a cell without one comes last, whichever way.
function sortBy(header) {
  const table = header.closest('table'), body = table.tBodies[0];
  // Numbers begin with the largest, texts with A.
  const now = header.getAttribute('aria-sort') || (header.dataset.text ? 'descending' : 'ascending');
  const sign = now === 'ascending' ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
  header.setAttribute('aria-sort', sign < 0 ? 'descending' : 'ascending');
  const value = row => row.cells[header.cellIndex].dataset.v;
  const compare = (a, b) => {
    const x = value(a), y = value(b);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    const difference = header.dataset.text ? x.localeCompare(y) : x - y;
    return sign * difference;
  };
  body.append(...[...body.rows].sort(compare));
}
for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => sortBy(button.closest('th')));
}
// A name in full shows that class alone; a part of names all that have it.
const filter = document.getElementById('filter');
function showOnly(text) {
  const wanted = text.trim().toLowerCase();
  const listed = [...document.querySelectorAll('#names option')].some(o => o.value.toLowerCase() === wanted);
  for (const item of document.querySelectorAll('[data-names]')) {
    const names = item.dataset.names.toLowerCase().split('\n');
    item.hidden = wanted !== '' && !names.some(name => listed ? name === wanted : name.includes(wanted));
  }
}
if (filter) filter.addEventListener('input', () => showOnly(filter.value));
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener('hashchange', openTarget);
openTarget();
addEventListener('beforeprint', () => { for (const d of document.querySelectorAll('details')) d.open = true; });
