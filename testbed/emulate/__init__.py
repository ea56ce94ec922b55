"""The emulated network and all that happens in it; this runs on the kernel that is emulated on."""
