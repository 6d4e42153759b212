"""A figure that notebooks display; imported at the first plot."""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A matplotlib figure that shows itself at the end of a notebook's cell.

    pyplot keeps a global reference to each of its figures. This one has none,
    so it is freed with its last variable.
    """

    def _repr_png_(self):
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
