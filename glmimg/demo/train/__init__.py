"""The recipe of the demo model: its world, its captions, and the trainers of its parts (`python -m glmimg.demo.train`)."""
