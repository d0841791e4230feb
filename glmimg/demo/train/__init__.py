"""The recipe of the demo model: its world, its captions, and the trainers of its parts (`python -m glmimg.demo.train`).

How the shipped weights came about, because it was not one straight run of that command (two CPU cores):

- VAE: 3,200 steps, 37 minutes on one core beside the AR stage; the rate was 2e-3 flat for 1,800 of them. It ended
  at a mean error of about 2/255 on whole pictures.
- DiT and glyph encoder: 2,200 steps, 35 minutes on one core; the schedule was cut from 4,500 steps to 2,200 at 1,400.
  Then the second course, 2,800 steps at half the rate in 50 minutes, with 40 % of the batches scenes with words:
  before it no letter could be read, after it most can.
- AR stage, first course: 4,400 steps, 110 minutes, the last 2,200 on both cores. Steps 1 to 800 had two key-value
  heads and Muon at 0.012, steps 800 to 2,000 six (the two copied thrice) at 0.006, both with hardly any decay. By then
  shapes were still started anywhere: queries and keys had grown until every head attended to a single token and
  stopped learning. At 2,000 they were scaled by 1/4 (output projections and MLP ends by 0.3), the position heads were
  set, and decay 0.4 was given to Muon; 200 steps later the model knew the columns, 1,000 later most places. From there
  on: one shape with one pair in ten to step 2,400; pairs 0.3 to 2,600; then other sizes 0.08 to 0.15 and edits 0.1 to
  0.2 as well. Scenes with words were 3 to 5 % of the rows between 1,500 and 2,000 and between 2,600 and 3,000.
- AR stage, second course: to step 8,400 at half the rate, mostly edits, the cells that an edit changes weighted in the
  loss. Edits went from 35 to 56 of 60; words were still not written.
- AR stage, third course: to step 11,400 at 0.15 of the rate, mostly words and other sizes, with letters weighted and
  `start_letters` giving the letter tokens of a prompt an embedding that says which letter they are. Within 200 steps
  it spelt. At half the rate and one process the same course ruined the model: it was begun again.
- AR stage, fourth course: 450 steps at 0.03 of the rate on one core, 38 minutes, seven batches in ten of another size than
  256x256. Of 80 captions at five such sizes 48 instead of 30 then had shape and place right by their codes. It went on
  from the shipped bfloat16 weights without optimizer states; at 0.15 of the rate the loss rose instead of falling.
- AR stage, fifth course: to step 15,000 at 0.15 of the rate on both cores, 72 minutes, again from the shipped bfloat16
  weights without optimizer states: captions as people say them, words in a row that is named, bigger, smaller and moved
  shapes, edits through presets. Nearly half of the batches have another size than 256x256: with a third of them, at 0.1
  of the rate, other sizes and edits of two pictures had got worse than before.

The recipe as it stands starts with what that taught: position heads, six key-value heads and decay from the first
step. It has been run so from the start for 225 steps only, so its step counts are an estimate, not a measurement.
"""
