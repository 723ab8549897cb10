"""Start the inspector in the browser: `python app.py`."""

from vitc_inspect.cli import ended
from vitc_inspect.ui.launch import main

if __name__ == "__main__":
    raise SystemExit(ended(main))
