"""What every other part uses: errors, checked values, images, guarded calls."""
