"""Training: one loop, and what stands around it. Read `fit.py` first.

The package is named as the public function `maskwright.train`. Python puts a package into its parent as soon as
anything in it is imported, so what stands there must be callable as the function is.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from maskwright.train.run import train

        return train(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
