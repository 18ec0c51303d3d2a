"""A window that shows frames, made with tkinter: it comes with Python."""

import asyncio
from typing import TYPE_CHECKING, Any

from hearth.errors import SetupError
from hearth.media.raw import Pixels
from hearth.watch.frames import resized

if TYPE_CHECKING:
    import tkinter

REDRAW_SECONDS = 1 / 60
"""Seconds between two looks at what the user does; only while there is a window."""

SCREEN_SHARE = 0.9
"""Share of the screen that the window may take."""

ELSEWHERE = "write to a video or a folder with --out, or lines of JSON with --json and --no-window"


class PictureWindow:
    """Window of pictures; on the main thread, while an asyncio loop runs."""

    def __init__(self, title: str) -> None:
        """Open the window; raises SetupError where none can be."""
        try:
            import tkinter
        except ImportError:
            raise SetupError(
                f"this Python has no tkinter to open a window with: {ELSEWHERE}"
            ) from None
        try:
            self._root = tkinter.Tk(className="hearth")
        except tkinter.TclError:
            raise SetupError(f"there is no display to open a window on: {ELSEWHERE}") from None
        self._new_image = tkinter.PhotoImage
        self._image: Any = None
        self._label = tkinter.Label(self._root, borderwidth=0, background="black")
        self._label.pack()
        self._root.title(title)
        self._root.resizable(False, False)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("q", "Q", "Escape"):
            self._root.bind(f"<Key-{key}>", self._close_on_key)
        for key in ("space", "Right", "Return"):
            self._root.bind(f"<Key-{key}>", self._go_on)
        self._most = (
            int(self._root.winfo_screenwidth() * SCREEN_SHARE),
            int(self._root.winfo_screenheight() * SCREEN_SHARE),
        )
        self._wanted = asyncio.Event()
        self.is_open = True

    def fit(self, pixels: Pixels) -> bytes:
        """Convert RGB pixels to a PPM for the window, no larger than the screen; any thread."""
        share = min(most / size for most, size in zip(self._most, pixels.shape[1::-1], strict=True))
        if share < 1:
            pixels = resized(pixels, share)
        height, width = pixels.shape[:2]
        return b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()

    def show(self, picture: bytes, title: str) -> None:
        """Show what ``fit`` gave."""
        if not self.is_open:
            return
        first = self._image is None
        # Tk keeps an image only as long as Python holds it.
        self._image = self._new_image(master=self._root, data=picture)
        self._label.configure(image=self._image)
        self._root.title(title)
        if first:
            self._root.lift()
            self._label.focus_force()

    async def stay(self, seconds: float) -> None:
        """Wait so long, or until the user wants to go on (space, →) or closes the window."""
        self._wanted.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Look after the window until it is closed."""
        while self.is_open:
            self._root.update()
            if self.is_open:
                await asyncio.sleep(REDRAW_SECONDS)

    def close(self) -> None:
        """Close the window."""
        if self.is_open:
            self.is_open = False
            self._wanted.set()
            self._image = None
            self._root.destroy()

    def _close_on_key(self, _: "tkinter.Event[Any]") -> None:
        self.close()

    def _go_on(self, _: "tkinter.Event[Any]") -> None:
        self._wanted.set()
