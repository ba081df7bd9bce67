// Sorting, filters, conversion and refresh. Without it the page is a plain table.
const byId = (id) => document.getElementById(id);

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en");
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const isNumber = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : isNumber;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => isNumber ? row.cells[column].dataset.v : row.cells[column].lastChild?.textContent.trim() ?? "";
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (a === "" || b === "") return (a === "") - (b === "");  // rows without a value come last in both directions
        const order = isNumber ? a - b : collator.compare(a, b);
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

function filtered(table) {
  const text = (row, column) => row.cells[column].lastChild?.textContent.trim() ?? "";
  const rows = [...table.tBodies[0].rows].map((row) => [row, Number(row.dataset.id), text(row, 2), text(row, 4)]);
  let ids = null;  // of the countries that the search finds; null for all
  const apply = () => {
    const wanted = byId("search").value.trim(), region = byId("region").value, currency = byId("currency").value;
    let found = 0;
    for (const [row, id, ofRegion, inCurrency] of rows) {
      row.hidden = (ids && !ids.has(id)) || (region && ofRegion !== region) || (currency && inCurrency !== currency);
      found += !row.hidden;
    }
    byId("found").textContent = found === 1 ? "1 country" : `${found} countries`;
    const query = new URLSearchParams({ format: "csv" });
    if (region) query.set("region", region);
    if (currency) query.set("currency", currency);
    if (wanted) query.set("q", wanted);
    byId("download").href = `countries?${query}`;
  };
  // The service searches, because it knows other spellings, codes and capitals.
  const search = async () => {
    const wanted = byId("search").value;
    try {
      const query = new URLSearchParams({ q: wanted.trim(), fields: "id" });
      const found = wanted.trim() ? await parsed(await fetch(`countries?${query}`)) : null;
      if (byId("search").value !== wanted) return;  // a later answer is on its way
      ids = found && new Set(found.map((country) => country.id));
      apply();
    } catch (error) {
      byId("found").textContent = error.message;
    }
  };
  let pause;
  byId("search").required = false;
  byId("search").addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(search, 150); });
  for (const id of ["region", "currency"]) {
    byId(id).addEventListener("input", apply);
    byId(id).parentElement.hidden = false;
  }
  byId("filters").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  search();  // a browser keeps the filters when the user goes back
}

async function parsed(response) {
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const details = typeof body.details === "object" ? Object.entries(body.details).map(([name, problem]) => `${name} ${problem}`).join("; ") : body.details;
  throw Object.assign(new Error(details || body.error || `Status ${response.status}`), { status: response.status });
}

// As app/service/converter.py writes them for a page without JavaScript.
const grouped = (decimal) => decimal.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
const sixDigits = (decimal) => Number(decimal).toLocaleString("en", { maximumSignificantDigits: 6, maximumFractionDigits: 0, roundingPriority: "morePrecision" });

function converter(form) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const output = byId("converted");
    try {
      const query = new URLSearchParams(new FormData(form));
      const typed = query.get("amount").trim();
      query.set("amount", /^\d{1,3}(,\d{3})+([.]\d*)?$/.test(typed) ? typed.replaceAll(",", "") : typed);
      query.set("decimals", "string");
      const found = await parsed(await fetch(`convert?${query}`));
      const isShown = found.rounded !== null && (Number(found.rounded) !== 0 || Number(found.result) === 0);
      const result = isShown ? grouped(found.rounded) : sixDigits(found.result);
      output.textContent = `${grouped(found.amount)} ${found.from} = ${result} ${found.to} (rate ${sixDigits(found.rate)} of ${found.date}${found.attribution ? `, ${found.attribution}` : ""})`;
    } catch (error) {
      output.textContent = error.message;
    }
  });
}

async function askForKey() {
  const dialog = byId("key");
  dialog.returnValue = "";  // Escape would return the previous value
  byId("key-value").value = "";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "send" ? byId("key-value").value : null;
}

function refreshing(button) {
  const status = byId("refresh-status"), progress = byId("progress");
  const run = async (headers) => {
    const started = Date.now();
    const showSeconds = () => { status.textContent = `Fetching countries and rates, ${Math.round((Date.now() - started) / 1000)} s`; };
    const clock = setInterval(showSeconds, 1000);
    showSeconds();
    button.disabled = true;
    progress.hidden = false;
    try {
      const result = await parsed(await fetch("countries/refresh", { method: "POST", headers }));
      status.textContent = `Refreshed ${result.total_countries} countries, reloading`;
      setTimeout(() => location.reload(), 1200);  // another process may serve the old data for a second
    } catch (error) {
      status.textContent = error.message;
      return error.status;
    } finally {
      clearInterval(clock);
      button.disabled = false;
      progress.hidden = true;
    }
    return 200;
  };
  button.addEventListener("click", async () => {
    if (await run({}) !== 401) return;
    const key = await askForKey();
    button.focus();
    if (key) await run({ "X-API-Key": key });
    else status.textContent = "Not refreshed";
  });
  button.parentElement.hidden = false;
}

if (byId("refresh")) refreshing(byId("refresh"));
if (byId("converter")) converter(byId("converter"));
if (byId("table")) {
  sortable(byId("table"));
  filtered(byId("table"));
}
