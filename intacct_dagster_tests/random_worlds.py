"""How many random worlds each family tries, and from which seed on.

`make test` tries a few of each family, `make slow` dozens and `make soak` thousands. Tests that
try this many are marked `worlds`. The mutants have a bound of their own: each one turns red in
`make test`.
"""

from __future__ import annotations

import os

#: Worlds in a family, from INTACCT_WORLDS.
WORLDS = int(os.environ.get("INTACCT_WORLDS", "10"))
#: The seed of the first world, from INTACCT_FIRST_WORLD.
FIRST_SEED = int(os.environ.get("INTACCT_FIRST_WORLD", "1"))
