"""What picture files are called."""

#: Extensions of pictures, in small letters.
PICTURE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
