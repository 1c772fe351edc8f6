"""The site as people see it: opens each built page in Chromium, on a wide and on a narrow screen.

    python docs/screenshots.py docs/_build/html --out out/site

It takes a screenshot of each page, and fails where a table is raw text, code or a page is cut off, a picture or a link is broken,
a formula is not set, or the search does not find a public name. Needs `pip install playwright` and Chromium
(`apt-get install chromium`). Pages load MathJax from the network; `--mathjax FOLDER` gives a copy of its folder `es5` instead.
"""

import argparse
import importlib
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from playwright.sync_api import Page, Route, sync_playwright

SCREENS = {"wide": 1400, "narrow": 400}
NOT_PAGES = {"genindex.html", "py-modindex.html", "search.html"}
MODULES = (
    "linops_jax",
    "linops_jax.ops",
    "linops_jax.algebra",
    "linops_jax.functional",
    "linops_jax.interop",
    "linops_jax.testing",
)

# What a person would see to be wrong on a page: a list of sentences.
LOOK = r"""
(wide) => {
  const found = [], shown = (element) => element.textContent.trim().slice(0, 60);
  for (const text of document.querySelectorAll("article p, article li, article td"))
    if (/\|\s*:?-{3,}:?\s*\|/.test(text.innerText)) found.push(`a table is raw text: ${shown(text)}`);
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  for (const pre of document.querySelectorAll("article pre")) {
    if (pre.scrollWidth <= pre.clientWidth + 1) continue;
    if (!scrolls(pre)) found.push(`a block is cut off: ${shown(pre)}`);
    else if (wide && !pre.closest(".cell_output")) found.push(`a line of code does not fit: ${shown(pre)}`);
  }
  for (const all of [document.documentElement, ...document.querySelectorAll(".content")])
    if (all.scrollWidth > all.clientWidth + 1) found.push(`${all.tagName} is ${all.scrollWidth} pixels wide`);
  for (const image of document.querySelectorAll("article img"))
    if (image.complete && image.naturalWidth === 0) found.push(`a picture is missing: ${image.getAttribute("src")}`);
  for (const error of document.querySelectorAll("mjx-merror, .problematic")) found.push(`an error in the text: ${shown(error)}`);
  const formulas = document.querySelectorAll("span.math, div.math").length;
  if (window.MathJax?.startup?.promise && formulas > document.querySelectorAll("mjx-container").length)
    found.push("a formula is not set");
  return found;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=pathlib.Path, nargs="?", default=pathlib.Path("docs/_build/html"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/site"), help="folder of the screenshots")
    parser.add_argument("--mathjax", type=pathlib.Path, help="folder with tex-mml-chtml.js, in place of the network's")
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("docs/screenshots.py: there is no Chromium. Install it, for example with `apt-get install chromium`.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        problems = list(_problems(window, arguments.site.resolve(), arguments.out, arguments.mathjax))
        window.close()
    print("\n".join(problems))
    print(f"{len(problems)} problems; screenshots are in {arguments.out}")
    sys.exit(bool(problems))


def _problems(window: Any, site: pathlib.Path, out: pathlib.Path, mathjax: pathlib.Path | None) -> Iterator[str]:
    pages = [
        file for file in sorted(site.rglob("*.html")) if file.name not in NOT_PAGES and "_static" not in file.parts
    ]
    if not pages:
        yield f"{site} has no pages: build them first"
        return
    targets: dict[str, set[str]] = {}
    links: dict[str, list[str]] = {}
    for screen, width in SCREENS.items():
        page = window.new_page(viewport={"width": width, "height": 900})
        page.route("https://**", lambda route: _from_disk(route, mathjax))
        for file in pages:
            name = file.relative_to(site).with_suffix("").as_posix()
            page.goto(file.as_uri())
            page.evaluate("() => window.MathJax?.startup?.promise")
            page.screenshot(path=out / f"{name.replace('/', '-')}-{screen}.png", full_page=True)
            yield from (f"{name}, {screen}: {text}" for text in page.evaluate(LOOK, screen == "wide"))
            targets[file.as_uri()] = set(page.eval_on_selector_all("[id]", "all => all.map((one) => one.id)"))
            links[file.as_uri()] = page.eval_on_selector_all(
                "a[href]", "all => all.map((one) => one.getAttribute('href'))"
            )
        page.close()
    yield from _broken(links, targets)
    yield from _not_found(window.new_page(), site)


def _from_disk(route: Route, mathjax: pathlib.Path | None) -> None:
    """What a page loads from the network: MathJax, if there is a copy of it, and nothing else."""
    _, is_mathjax, path = route.request.url.partition("/npm/mathjax")
    file = mathjax and mathjax / path.partition("/")[2]
    if is_mathjax and file and file.is_file():
        route.fulfill(path=file)
    elif is_mathjax and not mathjax:
        route.continue_()
    else:
        route.abort()


def _broken(links: dict[str, list[str]], targets: dict[str, set[str]]) -> Iterator[str]:
    for start, all_hrefs in links.items():
        for href in sorted(set(all_hrefs)):
            address, fragment = urldefrag(urljoin(start, href))
            if not address.startswith("file:"):
                continue
            if not pathlib.Path(unquote(address.removeprefix("file://"))).is_file():
                yield f"{start.rpartition('/')[2]}: a link leads nowhere: {href}"
            elif fragment and address in targets and unquote(fragment) not in targets[address]:
                yield f"{start.rpartition('/')[2]}: a link leads to no place on its page: {href}"


def _not_found(page: Page, site: pathlib.Path) -> Iterator[str]:
    """Public names that the search does not find."""
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            page.goto(f"{(site / 'search.html').as_uri()}?q={name}")
            page.wait_for_selector("#search-results ul.search li, #search-results p.search-summary:not(:empty)")
            page.wait_for_function(
                "() => !document.querySelector('#search-results h2')?.textContent.includes('Searching')"
            )
            if not page.query_selector("#search-results ul.search li"):
                yield f"the search does not find {module.__name__}.{name}"


if __name__ == "__main__":
    main()
