"""What a grid file and a command line say."""
