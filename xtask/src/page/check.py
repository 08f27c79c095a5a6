"""Opens the pages of `postern explain` in a browser and says what is wrong with them; `cargo xtask test --page` runs it.

    check.py BROWSER FOLDER all|one PAGE...

For each page, light and dark, on a wide and on a narrow screen (with `one` only light and wide): no message on the console and no error, nothing asked of the network,
nothing that sticks out to the right, no script that runs, no finding of axe (contrast, landmarks, names), and a filter that opens with
the keyboard. Screenshots and a print go to FOLDER.
"""

import pathlib
import shutil
import sys

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

SCREENS = {"wide": (1280, 900), "narrow": (375, 800)}
# What sticks out of the screen: in no box that scrolls by itself.
OVERFLOW = """() => [...document.querySelectorAll('body *')]
  .filter(of => of.getClientRects().length && of.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(of => of.tagName + '.' + of.className + ': ' + of.textContent.trim().slice(0, 60))"""


def check(browser, page_file, folder, sights):
    findings = []
    for scheme, screen in sights:
        width, height = SCREENS[screen]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        where = f"{page_file.stem}, {scheme}, {screen}"
        page.on("console", lambda message: findings.append(f"{where}: console: {message.text}"))
        page.on("pageerror", lambda error: findings.append(f"{where}: error: {error}"))
        page.on("dialog", lambda dialog: (findings.append(f"{where}: a script has run: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: request.url.startswith("file:") or findings.append(f"{where}: asks for {request.url}"),
        )
        page.goto(page_file.as_uri())
        for position, filter in enumerate(page.query_selector_all("details.filter > summary")):
            if filter.is_visible() and position < 12:
                filter.focus()
                page.keyboard.press("Enter")
                if not filter.evaluate("of => of.parentElement.open"):
                    findings.append(f"{where}: filter {position} does not open with the keyboard")
        findings += [f"{where}: sticks out: {of}" for of in page.evaluate(OVERFLOW)]
        if page.evaluate("() => document.scripts.length + (window.postern_was_here ? 1 : 0)"):
            findings.append(f"{where}: there is a script")
        page.screenshot(path=folder / f"{page_file.stem}-{scheme}-{screen}-open.png", full_page=True)
        for violation in Axe().run(page).response["violations"]:
            nodes = [node["html"][:120] for node in violation["nodes"][:3]]
            findings.append(f"{where}: {violation['id']}: {violation['help']}: {nodes}")
        page.reload()
        page.screenshot(path=folder / f"{page_file.stem}-{scheme}-{screen}.png", full_page=True)
        context.close()
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.pdf(path=folder / f"{page_file.stem}.pdf", format="A4")
    page.close()
    return findings


def main():
    browser_path, folder, how_many, *pages = sys.argv[1:]
    sights = [(scheme, screen) for scheme in ("light", "dark") for screen in SCREENS]
    findings = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(browser_path))
        for page in pages:
            findings += check(browser, pathlib.Path(page).resolve(), pathlib.Path(folder), sights if how_many == "all" else sights[:1])
        browser.close()
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)


main()
