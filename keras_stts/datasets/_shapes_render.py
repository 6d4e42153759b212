"""The world of `shapes`: what is shown where, what is asked, the pixels."""

import collections
import functools

import numpy as np

NUM_FRAMES = 8
FRAME_SIZE = 48
CELLS = 4
CELL_SIZE = FRAME_SIZE // CELLS

COLORS = {
    "red": (225, 25, 30),
    "orange": (255, 140, 0),
    "yellow": (245, 235, 40),
    "green": (20, 160, 40),
    "cyan": (40, 215, 230),
    "blue": (30, 60, 235),
    "magenta": (225, 50, 225),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross")
STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
CAMERAS = ("still", "moving")
CELL_NAMES = tuple(f"{row}{column}" for row in "abcd" for column in "1234")
ANSWERS = {
    "direction": tuple(STEPS),
    "shape": SHAPES,
    "first": tuple(COLORS),
    "where": CELL_NAMES,
    "count": ("one", "two", "three", "four"),
}
KINDS = tuple(ANSWERS)
SPLITS = ("train", "validation", "test")

NUM_DISTRACTORS = 3
NUM_FLICKER = 2
MOVER_FRAMES = 3
# Fast enough that every block changes, slow enough to be seen as one motion.
PANS = tuple(
    (down, right)
    for down in range(-5, 6)
    for right in range(-5, 6)
    if max(abs(down), abs(right)) > 1
)

# `color` and `shape` are names; `shown` is a list of (frame, cell).
Thing = collections.namedtuple("Thing", "color shape shown")
# `pan` is what the camera's background moves, (down, right) pixels a frame.
Layout = collections.namedtuple(
    "Layout", "events distractors flicker questions num_frames pan"
)


def open_stream(split, index, seed):
    """Returns the random generator of one clip."""
    return np.random.default_rng([seed, SPLITS.index(split), index])


def draw_layout(rng, num_frames=NUM_FRAMES, camera="still"):
    """Draws everything about a clip but its pixels.

    What an answer depends on is drawn first and uniformly; the rest is then
    drawn from the places still free, so that nothing is ever drawn again and
    answers stay uniform.

    Args:
        rng: a `numpy.random.Generator`, left where `draw_frames` goes on.
        num_frames: int.
        camera: one of `CAMERAS`.

    Returns:
        A `Layout`: `events` (mover, flashes A and B, counted C),
        `distractors`, `flicker` (a list of (frame, cell)), `questions`,
        `num_frames` and `pan`.
    """
    colors = _sample(rng, list(COLORS), 4 + NUM_DISTRACTORS)
    shapes = [_pick(rng, SHAPES) for _ in colors]
    direction = _pick(rng, ANSWERS["direction"])
    count = int(rng.integers(1, 5))
    flashes = _place_flashes(rng, num_frames)
    mover = _place_mover(rng, direction, set(flashes), num_frames)
    counted = _place_counted(rng, count, {*flashes, *mover}, num_frames)
    places = [mover, flashes[:1], flashes[1:], counted]
    used = {place for shown in places for place in shown}
    taken = {cell for _, cell in used}
    places += _place_distractors(rng, taken, num_frames)
    used |= {place for shown in places for place in shown}
    things = [Thing(*thing) for thing in zip(colors, shapes, places)]
    flicker = _place_flicker(rng, used, num_frames)
    questions = _ask(rng, things[:4], direction)
    pan = _pick(rng, PANS) if camera == "moving" else (0, 0)
    return Layout(things[:4], things[4:], flicker, questions, num_frames, pan)


def draw_frames(rng, layout):
    """Draws the pixels of a clip.

    Only integers are drawn and added: floats could round differently on
    another machine.

    Args:
        rng: the `numpy.random.Generator` that drew `layout`.
        layout: a `Layout`.

    Returns:
        uint8 array of shape `(T, 48, 48, 3)`, RGB.
    """
    size = (layout.num_frames, FRAME_SIZE, FRAME_SIZE, 3)
    frames = np.empty(size, "int16")
    frames[:] = rng.integers(30, 90, (FRAME_SIZE, FRAME_SIZE, 1), "int16")
    _show(frames, layout.distractors)
    for i, frame in enumerate(frames):
        shift = [i * step for step in layout.pan]
        frame[:] = np.roll(frame, shift, axis=(0, 1))
    _show(frames, layout.events)
    grey = rng.integers(
        0, 256, (len(layout.flicker), CELL_SIZE, CELL_SIZE, 1), "int16"
    )
    for place, pixels in zip(layout.flicker, grey):
        _view(frames, place)[:] = pixels
    frames += rng.integers(-5, 6, size, "int8")  # standard deviation 3.2
    return np.clip(frames, 0, 255).astype("uint8")


def _show(frames, things):
    for thing in things:
        for place in thing.shown:
            _view(frames, place)[_MASKS[thing.shape]] = COLORS[thing.color]


def mark_events(layout):
    """Returns the bool array `(T, 16)`, true where an event is shown."""
    informative = np.zeros((layout.num_frames, CELLS**2), bool)
    for thing in layout.events:
        for place in thing.shown:
            informative[place] = True
    return informative


def label_blocks(layout):
    """Returns colour and shape of each block, int32 `(T, 16, 2)`, 0: none."""
    labels = np.zeros((layout.num_frames, CELLS**2, 2), "int32")
    # A camera that moves takes the distractors out of their cells.
    fixed = [] if any(layout.pan) else layout.distractors
    for thing in fixed + layout.events:
        color = 1 + list(COLORS).index(thing.color)
        for place in thing.shown:
            labels[place] = color, 1 + SHAPES.index(thing.shape)
    return labels


def _sample(rng, options, size):
    """Draws `size` different options."""
    order = np.argsort(rng.random(len(options)), kind="stable")
    return [options[i] for i in order[:size]]


def _pick(rng, options):
    return options[int(rng.integers(len(options)))]


def _place_flashes(rng, num_frames):
    frames = _sample(rng, range(1, num_frames), 2)
    return [(frame, int(rng.integers(CELLS**2))) for frame in frames]


def _place_mover(rng, direction, taken, num_frames):
    paths = _paths(direction, num_frames)
    free = [path for path in paths if taken.isdisjoint(path)]
    return _pick(rng, free)


def _place_counted(rng, count, taken, num_frames):
    # A cell of its own for each flash: two flashes in a row in one cell
    # would look like a single long one.
    shown = []
    for frame in sorted(_sample(rng, range(1, num_frames), count)):
        own = {cell for _, cell in shown}
        own |= {cell for other, cell in taken if other == frame}
        free = [cell for cell in range(CELLS**2) if cell not in own]
        shown.append((frame, _pick(rng, free)))
    return shown


def _place_distractors(rng, taken_cells, num_frames):
    free = [cell for cell in range(CELLS**2) if cell not in taken_cells]
    cells = _sample(rng, free, NUM_DISTRACTORS)
    return [[(frame, cell) for frame in range(num_frames)] for cell in cells]


def _place_flicker(rng, taken, num_frames):
    places = []
    for frame in range(num_frames):
        free = [(frame, cell) for cell in range(CELLS**2)]
        free = [place for place in free if place not in taken]
        places += _sample(rng, free, NUM_FLICKER)
    return places


def _ask(rng, events, direction):
    mover, a, b, counted = events
    one, other = _sample(rng, [a.color, b.color], 2)
    first = min(a, b, key=lambda thing: thing.shown[0])
    number = ANSWERS["count"][len(counted.shown) - 1]
    asked = [
        (
            "direction",
            f"which way does the {mover.color} object move?",
            direction,
        ),
        (
            "first",
            f"which appears first, the {one} or the {other} object?",
            first.color,
        ),
        (
            "count",
            f"how many times does the {counted.color} object appear?",
            number,
        ),
    ]
    for thing in (a, b, counted):
        text = f"what shape is the {thing.color} object?"
        asked.append(("shape", text, thing.shape))
    for thing in (a, b):
        text = f"in which cell does the {thing.color} object appear?"
        asked.append(("where", text, CELL_NAMES[thing.shown[0][1]]))
    return [dict(zip(("kind", "question", "answer"), row)) for row in asked]


def _view(frames, place):
    """Returns the pixels of one cell, a view of shape `(12, 12, 3)`."""
    frame, cell = place
    top, left = (CELL_SIZE * i for i in divmod(cell, CELLS))
    return frames[frame, top : top + CELL_SIZE, left : left + CELL_SIZE]


def _make_masks():
    # Twice the distance to the cell's middle: odd numbers from -11 to 11.
    y, x = 2 * np.indices((CELL_SIZE, CELL_SIZE)) - CELL_SIZE + 1
    far, near = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    radius = x**2 + y**2
    return {
        # A ring: a full disc is too close to a square at this size.
        "circle": (radius <= 106) & (radius >= 26),
        "square": far <= 9,
        "triangle": (2 * abs(x) <= y + 11) & (far <= 9),
        "cross": (near <= 3) & (far <= 9),
    }


@functools.lru_cache(64)
def _paths(direction, num_frames):
    """All ways of a mover: lists of (frame, cell)."""
    down, right = STEPS[direction]
    lines = []
    for cell in range(CELLS**2):
        row, column = divmod(cell, CELLS)
        line = [(row + i * down, column + i * right) for i in range(3)]
        if all(0 <= i < CELLS for place in line for i in place):
            lines.append([CELLS * row + column for row, column in line])
    return [
        [(start + i, cell) for i, cell in enumerate(line)]
        for start in range(1, num_frames - MOVER_FRAMES + 1)
        for line in lines
    ]


_MASKS = _make_masks()
