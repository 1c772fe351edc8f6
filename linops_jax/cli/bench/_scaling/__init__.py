"""Work that is spread over devices, by each library, in processes that have as many devices as the work is for."""
