"""What all reconcilers share: caches, the queue, clients, the key, what is counted."""
