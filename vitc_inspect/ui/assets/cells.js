// The cell panel: the window a cell read, and the window sliding over the input.
