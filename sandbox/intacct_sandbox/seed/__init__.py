"""The generated company: the demo one in memory, the large one on disk, the sales feed."""
