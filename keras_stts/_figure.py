"""A figure that notebooks show; imported where something is drawn."""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A matplotlib figure that shows itself at the end of a notebook's cell.

    Those of pyplot do so by a state that pyplot keeps, this one by itself: it
    is gone when nobody holds it.
    """

    def _repr_png_(self):
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
