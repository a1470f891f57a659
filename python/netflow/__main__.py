"""``python3 -m netflow ...`` is ``weir ...``."""
from netflow._program import main

if __name__ == "__main__":
    main()
