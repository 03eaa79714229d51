"""Where does a history come from? One file a venue, an archive format, or a kind of origin."""
