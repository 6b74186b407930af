// What of a page cannot be read: small or pale text, and charts that are cut. Returns a line for each fault.
() => {
  const faults = [];
  const say = (fault, element) => faults.push(`${fault}: ${element.textContent.trim().slice(0, 40)} (${element.tagName} ${element.getAttribute("class") ?? ""})`);
  const parse = (text) => { const n = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0]; return n.length > 3 ? n : [...n, 1]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (color) => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => {
    const c = color[i] / 255;
    return sum + share * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  }, 0);
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const shapes = ["rect", "path", "use"];

  function paint(element) {
    const style = getComputedStyle(element);
    if (!(element instanceof SVGElement) || element.tagName === "svg") return parse(style.backgroundColor);
    if (!shapes.includes(element.tagName) || style.fill === "none") return [0, 0, 0, 0];
    const color = parse(style.fill);
    return [...color.slice(0, 3), color[3] * style.fillOpacity * style.opacity];
  }

  function background(element, x, y) {
    const stack = document.elementsFromPoint(x, y), place = stack.findIndex((one) => one === element || element.contains(one));
    const below = place < 0 ? [] : stack.slice(place);
    if (place < 0) for (let one = element; one; one = one.parentElement) below.push(one);
    return below.reverse().reduce((color, one) => over(paint(one), color), matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1]);
  }

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, range = document.createRange();
    if (!walker.currentNode.data.trim() || ["SCRIPT", "STYLE", "title", "style", "NOSCRIPT"].includes(element.tagName)) continue;
    range.selectNodeContents(walker.currentNode);
    const frame = range.getBoundingClientRect(), style = getComputedStyle(element);
    if (!frame.width || style.visibility === "hidden") continue;

    const matrix = element instanceof SVGElement ? element.getScreenCTM() : { a: 1, b: 0, c: 0, d: 1 };
    const size = parseFloat(style.fontSize) * Math.sqrt(Math.abs(matrix.a * matrix.d - matrix.b * matrix.c));
    if (size < 10.95) say(`text of ${size.toFixed(1)} px`, element);

    const color = parse(element instanceof SVGElement ? style.fill : style.color);
    const below = background(element, frame.x + frame.width / 2, frame.y + frame.height / 2);
    const found = contrast(over([...color.slice(0, 3), color[3] * style.opacity], below), below);
    if (found < 4.5) say(`contrast of ${found.toFixed(2)}`, element);
  }

  for (const chart of document.querySelectorAll("svg, canvas")) {
    const { left, right, width } = chart.getBoundingClientRect();
    if (width && (left < 0 || right > innerWidth + 0.5)) say("cut", chart);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push("the page is wider than its window");
  return faults;
}
