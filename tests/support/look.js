// What is wrong with how a page looks: all of it is empty where nothing is.
() => {
  const shown = [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.closest("dialog"));
  const luminance = (color) => {
    const part = color.match(/[\d.]+/g).slice(0, 3).map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const background = (e) => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (!/, 0\)$|transparent/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const contrast = (e) => {
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(background(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const hasText = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const name = (e) => e.getAttribute("aria-label") || e.labels?.[0]?.innerText || e.innerText || e.alt;
  return {
    wide: shown.filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".wide, .skip")).map((e) => e.outerHTML.slice(0, 80)),
    unnamed: shown.filter((e) => e.matches("a, button, input, select, img") && !name(e)?.trim()).map((e) => e.outerHTML.slice(0, 80)),
    faint: shown.filter((e) => hasText(e) && contrast(e) < 4.5).map((e) => `${contrast(e).toFixed(1)} ${e.outerHTML.slice(0, 80)}`),
    shift: performance.getEntriesByType("layout-shift").reduce((sum, entry) => sum + entry.value, 0),
  };
}
