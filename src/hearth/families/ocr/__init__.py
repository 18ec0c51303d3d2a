"""Text in images: PP-OCRv6 as rapidocr packages it, on our own sessions."""
