"""How good models are on ratings that training did not see."""
