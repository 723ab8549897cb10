// The token and pixel panels: which cell becomes which token, which token reads which pixel.
