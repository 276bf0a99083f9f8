"""What one attempt is made of: its order, its Job and pod, what surrounds the pod, its progress."""
