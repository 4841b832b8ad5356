"""Pictures, charts and the one-page report; nothing here draws with anything but Pillow and text."""
