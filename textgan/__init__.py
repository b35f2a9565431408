"""textgan: text-to-image GANs on LSUN exports, traced to one git commit and made again."""

__version__ = "0.1.0"
