"""``python3 -m netflow ...`` is ``weir ...``."""
from netflow._program import main

main()
