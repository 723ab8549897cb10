"""The page's one script, joined from modules: what runs, in which order, and what is refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import gradio as gr
import pytest
from deno import find_deno_bin

from vitc_inspect.ui.choice import LINK_FIELDS, Request
from vitc_inspect.ui.module_page import build_module_page
from vitc_inspect.ui.module_server import ModuleServer
from vitc_inspect.ui.page import ASSETS, build_page
from vitc_inspect.ui.scripts import ScriptError, bundle

ENTRIES = ("stem/start.js", "module/start.js")
RUN = """
const text = await new Response(Deno.stdin.readable).text();
const run = new Function('element', 'props', 'server', text);
if (Deno.args[0] === 'run') run('the element', {}, {});
"""
"""Reads a script as Gradio does, as the body of a function, and runs it if it is to."""


def deno(script: str, *args: str) -> str:
    """What a script writes; none is run without "run", only read."""
    done = subprocess.run(
        [find_deno_bin(), "eval", "--no-config", RUN, *args],
        input=script,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(folder: Path, **modules: str) -> Path:
    """Modules in a folder by name; the file of the one that starts."""
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder / "start.js"


def script_of(page: gr.Blocks) -> str:
    (component,) = (each for each in page.blocks.values() if isinstance(each, gr.HTML))
    assert isinstance(component.js_on_load, str)
    return component.js_on_load


def imported_by(entry: Path) -> set[Path]:
    """All that a module imports from, directly or not, and itself."""
    found, left = set(), [entry.resolve()]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            sources = re.findall(
                r"from '(\..*)';|^import '(\..*)';", path.read_text(), re.MULTILINE
            )
            left += [(path.parent / "".join(names)).resolve() for names in sources]
    return found


# ---- the scripts of the pages ---------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_page_s_script_can_be_read(entry: str) -> None:
    deno(bundle(ASSETS / entry))


def test_each_page_has_the_script_of_its_entry() -> None:
    server = ModuleServer("own.py:net", "cpu", ["1,3,32,32"], in_process=True)
    module = build_module_page(server, title="net")
    scripts = [script_of(page) for page in (build_page(), module)]
    assert scripts == [bundle(ASSETS / entry) for entry in ENTRIES]


def test_every_module_is_of_a_page_and_begins_with_what_stands_in_it() -> None:
    used = set().union(*(imported_by(ASSETS / entry) for entry in ENTRIES))
    modules = set(ASSETS.rglob("*.js"))
    assert modules == used
    for path in modules:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("// "), path.name
        assert len(lines) <= 270, path.name


def test_what_is_shared_imports_from_no_page() -> None:
    for folder, allowed in {"common": {"common"}, "panels": {"common", "panels"}}.items():
        for path in (ASSETS / folder).glob("*.js"):
            assert {each.parent.name for each in imported_by(path)} <= allowed, path.name


def test_only_one_module_uses_what_gradio_gives() -> None:
    """In any other it would be a name that is nowhere declared, or another `props`."""
    given = re.compile(r"(?<![./\w])(?:element|props|server)(?=[.\[])")
    for path in ASSETS.rglob("*.js"):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not given.search(text), path.name


def test_every_module_that_takes_keys_says_which() -> None:
    """In the list that ? shows; a dialog's are the browser's own, and a list's those of a list."""
    taking = {
        path.name
        for path in ASSETS.rglob("*.js")
        if "addEventListener('keydown'" in path.read_text(encoding="utf-8")
    }
    saying = {
        path.name for path in ASSETS.rglob("*.js") if "keysOf('" in path.read_text(encoding="utf-8")
    }
    assert saying <= taking
    assert taking - saying == {"dialogs.js", "glossary.js"}


def test_the_fields_of_a_link_are_named_in_python_alone() -> None:
    """Of each field that a link has under another name than the choice, the script says which."""
    text = (ASSETS / "stem" / "address.js").read_text(encoding="utf-8")
    fields = {*LINK_FIELDS["always"], *LINK_FIELDS["changed"]}
    renamed = fields - set(Request.__dataclass_fields__)
    assert renamed == {"size", "channels", "table"}
    assert all(f"query.has('{name}')" in text for name in renamed)


# ---- joining --------------------------------------------------------------------------------


def test_modules_run_once_and_after_those_they_import_from(tmp_path: Path) -> None:
    start = written(
        tmp_path,
        a="export const name = 'a';\nconsole.log('a runs');\n",
        b="import { name } from './a.js';\nexport function told() {\n  return `b of ${name}`;\n}\n",
        c="import './a.js';\nconsole.log('c runs');\n",
        start="import {\n  name,\n} from './a.js';\nimport { told } from './b.js';\n"
        "import './c.js';\nconsole.log(name, told());\n",
    )
    assert deno(bundle(start), "run").splitlines() == ["a runs", "c runs", "a b of a"]


def test_names_of_modules_do_not_meet(tmp_path: Path) -> None:
    """Nor do they hide what the browser itself calls so from another module."""
    start = written(
        tmp_path,
        a="const own = 'a';\nfunction escape() {\n  return own;\n}\n"
        "export const a = () => escape();\n",
        b="const own = 'b';\nexport const b = () => own + escape('ü');\n",
        start="import { a } from './a.js';\nimport { b } from './b.js';\nconst own = 'start';\n"
        "console.log(own, a(), b());\n",
    )
    assert deno(bundle(start), "run") == "start a b%FC\n"


def test_every_form_of_export_is_handed_on_and_gradio_s_names_are_in_scope(tmp_path: Path) -> None:
    start = written(
        tmp_path,
        a="export async function later() {}\nexport class Own {}\nexport const one = element;\n",
        start="import { later, one, Own } from './a.js';\n"
        "console.log(one, typeof later, typeof Own);\n",
    )
    assert deno(bundle(start), "run") == "the element function function\n"


def test_comments_of_whole_lines_are_left_out_and_text_stays(tmp_path: Path) -> None:
    start = written(
        tmp_path,
        start="// one\n/**\n * @param {import('./a.js').A} a\n */\nfunction f(a) {\n  // two\n"
        "  return /** @type {import('./a.js').A} */ (a); // end\n}\n/* three */\n"
        "console.log(f('http://a/*b*/'));\n",
    )
    script = bundle(start)
    assert deno(script, "run") == "http://a/*b*/\n"
    assert not any(word in script for word in ("one", "two", "three", "@param"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("import { one as two } from './a.js';", "as it is, without `as`"),
        ("import * as a from './a.js';", "Write import { a } from './file.js'"),
        ("import a from './a.js';", "Write import"),
        ("import a, { one } from './a.js';", "Write import"),
        ('import { one } from "./a.js";', "Write import"),
        ("import { one } from './a.js'", "Write import"),
        ("import data from './a.json' with { type: 'json' };", "Write import"),
        ("const a = await import('./a.js');", "Write import"),
        ("const here = import.meta.url;", "Write import"),
        ("import { one } from 'somewhere';", "Import from a file"),
        ("import { one } from 'https://example.org/a.js';", "Import from a file"),
        ("export default 1;", "or export before a function"),
        ("export { one } from './a.js';", "or export before a function"),
        ("export * from './a.js';", "or export before a function"),
        ("export let count = 0;", "or export before a function"),
        ("export const { one } = {};", "or export before a function"),
    ],
)
def test_a_form_that_cannot_be_joined_is_refused(tmp_path: Path, line: str, told: str) -> None:
    start = written(tmp_path, a="export const one = 1;\n", start=f"{line}\nconsole.log(1);\n")
    with pytest.raises(ScriptError, match=r"^start\.js: .* cannot be joined\. ") as raised:
        bundle(start)
    assert told in str(raised.value)


def test_a_name_that_is_not_exported_is_refused(tmp_path: Path) -> None:
    start = written(tmp_path, a="const one = 1;\n", start="import { one } from './a.js';\n")
    with pytest.raises(ScriptError, match=r"start\.js imports one from a\.js, which has none"):
        bundle(start)


def test_a_circle_is_refused(tmp_path: Path) -> None:
    start = written(
        tmp_path, a="import './b.js';\n", b="import './a.js';\n", start="import './a.js';\n"
    )
    with pytest.raises(ScriptError, match=r"a\.js → b\.js → a\.js: modules import in a circle"):
        bundle(start)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    start = written(tmp_path, start="import './a.js';\n")
    with pytest.raises(ScriptError, match=r"start\.js imports from a\.js, which does not exist"):
        bundle(start)
    with pytest.raises(ScriptError, match=r"none\.js does not exist"):
        bundle(tmp_path / "none.js")
