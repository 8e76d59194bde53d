"""What must be true of a run, whatever happened in it. Pure: records in, sentences out."""
