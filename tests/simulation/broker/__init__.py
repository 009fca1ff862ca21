"""Stories with a broker: simple pirate, paranoid pirate, majordomo."""
