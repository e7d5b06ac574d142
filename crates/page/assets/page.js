'use strict';
// What the page does: sorts tables by the values of the data, draws charts, and asks a local server where there are controls.
(() => {
  const data = new Map();

  const island = (name) => {
    if (!data.has(name)) {
      const element = document.getElementById(name ? `data-${name}` : 'data');
      data.set(name, element ? JSON.parse(element.textContent) : null);
    }
    return data.get(name);
  };

  /** The value at a place: '/a/b' in the result, 'name:/a/b' in another. */
  const at = (place) => {
    const colon = place.startsWith('/') ? -1 : place.indexOf(':');
    const parts = place.slice(colon + 1).split('/').slice(1);
    const step = (value, part) => value?.[part.replaceAll('~1', '/').replaceAll('~0', '~')];
    return parts.reduce(step, island(colon < 0 ? '' : place.slice(0, colon)));
  };

  const valueOf = (cell) => {
    const value = cell?.dataset.at === undefined ? cell?.textContent ?? '' : at(cell.dataset.at);
    return typeof value === 'boolean' ? Number(value) : value;
  };

  /** Empty cells last, whatever the direction; numbers before words. */
  const compare = (one, other, direction) => {
    const rank = (value) => (value === '' || value === null || value === undefined ? 2 : typeof value === 'number' ? 0 : 1);
    if (rank(one) !== rank(other) || rank(one) === 2) return rank(one) - rank(other);
    const order = rank(one) === 0 ? one - other : String(one).localeCompare(String(other), 'en', { numeric: true });
    return order * direction;
  };

  const sort = (header) => {
    const table = header.closest('table');
    const column = [...header.parentElement.children].indexOf(header);
    const descending = header.getAttribute('aria-sort') === 'ascending';
    for (const other of header.parentElement.children) other.removeAttribute('aria-sort');
    header.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort(([one], [other]) => compare(one, other, descending ? -1 : 1));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('table.sortable th button');
    if (button) sort(button.closest('th'));
  });

  const dark = matchMedia('(prefers-color-scheme: dark)');

  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const [ink, soft, line] = [color('--ink'), color('--soft'), color('--line')];
    return {
      background: 'transparent',
      font: 'system-ui, "DejaVu Sans", sans-serif',
      axis: { labelColor: soft, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 400, gridOpacity: 0.6 },
      legend: { labelColor: ink, titleColor: ink, labelLimit: 320 },
      text: { color: ink },
      view: { stroke: null },
    };
  };

  /** Narrow pages have short names at the left. */
  const fitted = (spec, width) => JSON.parse(JSON.stringify(spec), (key, value) => {
    if (key === 'labelLimit') return Math.min(value, Math.max(70, Math.floor(width * 0.3)));
    return key === 'columns' && width < 500 ? 2 : value;
  });

  let views = [];
  let round = 0;
  const isVisible = (box) => box.getBoundingClientRect().top < innerHeight && box.getBoundingClientRect().bottom > 0;

  /** Draws all charts, those in sight first; `seen` is called when these are there. */
  const draw = async (seen) => {
    const mine = (round += 1);
    views.forEach((view) => view.finalize());
    views = [];
    const boxes = [...document.querySelectorAll('.chart')];
    const first = boxes.filter(isVisible);
    const others = boxes.filter((box) => !first.includes(box));
    for (const [index, box] of [...first, ...others].entries()) {
      if (index === first.length) {
        seen();
        await new Promise((done) => setTimeout(done, 0));
      }
      if (mine !== round || !box.isConnected) return;
      const spec = fitted(JSON.parse(box.nextElementSibling.textContent), box.clientWidth);
      const options = {
        mode: 'vega-lite', renderer: 'svg', ast: true, tooltip: { theme: dark.matches ? 'dark' : 'light' },
        actions: { export: true, source: false, compiled: false, editor: false },
      };
      views.push(await vegaEmbed(box, { ...spec, width: 'container', config: theme() }, options));
    }
    seen();
    document.documentElement.dataset.drawn = String(round);
  };

  const redraw = () => new Promise((seen, failed) => draw(seen).catch(failed));
  dark.addEventListener('change', redraw);
  redraw();

  const controls = document.getElementById('controls');
  if (!controls) return;
  const status = document.getElementById('status');
  const main = document.getElementById('main');
  const say = (words, isWrong) => {
    status.textContent = words;
    status.classList.toggle('wrong', isWrong);
  };
  let asked = 0;
  const query = () => new URLSearchParams(new FormData(controls)).toString();
  const show = async (html) => {
    data.clear();
    main.innerHTML = html;
    document.title = main.querySelector('h1').textContent;
    await redraw();
  };
  /** The parts that take long, once the others are there. */
  const complete = async (search, mine, words) => {
    try {
      const response = await fetch(`answer?${search}&all=1`);
      const html = await response.text();
      if (mine !== asked || !response.ok) return;
      await show(html);
      document.documentElement.dataset.whole = String(mine);
      say(words, false);
    } catch (error) {
      if (mine === asked) say(`No answer: ${error.message}`, true);
    }
  };
  const ask = async () => {
    if (!controls.checkValidity()) {
      say('A value is out of its range.', true);
      return;
    }
    const mine = (asked += 1);
    const start = performance.now();
    const search = query();
    main.setAttribute('aria-busy', 'true');
    say('Asking...', false);
    try {
      const response = await fetch(`answer?${search}`);
      const text = await response.text();
      if (mine !== asked) return;
      if (!response.ok) {
        say(text, true);
        return;
      }
      await show(text);
      const words = `Answered and drawn in ${Math.round(performance.now() - start)} ms.`;
      document.documentElement.dataset.answered = String(mine);
      const isWhole = response.headers.has('x-whole');
      say(isWhole ? words : `${words} Looking at other numbers of users...`, false);
      if (isWhole) document.documentElement.dataset.whole = String(mine);
      else complete(search, mine, words);
    } catch (error) {
      if (mine === asked) say(`No answer: ${error.message}`, true);
    } finally {
      if (mine === asked) main.removeAttribute('aria-busy');
    }
  };
  complete(query(), 0, '');
  let waiting;
  controls.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, 150);
  });
  controls.addEventListener('submit', (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    ask();
  });
})();
