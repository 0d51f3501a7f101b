"""`flask --app app run` finds the application here; `python app.py` is `pdpp-ref serve`."""

import sys

from pdpp_ref.application import create_app
from pdpp_ref.cli.main import main
from pdpp_ref.config import InvalidSetting
from pdpp_ref.database import DatabaseUnusable

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]], prog_name="pdpp-ref")

try:
    app = create_app()
except (InvalidSetting, DatabaseUnusable) as error:
    print(f"Error: {error}", file=sys.stderr)
    raise SystemExit(2) from None
