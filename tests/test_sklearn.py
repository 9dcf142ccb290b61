from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="pipelines are scikit-learn's")

import polyseme
from polyseme.sklearn import ContextualVectorizer
from polyseme.tasks import UnusableError


def test_texts_become_their_sentence_vectors() -> None:
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    model = polyseme.load()
    texts = ["a sunny day", "stocks fell again", "rain and wind", "shares rose"]
    vectorizer = clone(ContextualVectorizer(model))
    assert (vectorizer.transform(texts) == model.encode(texts)).all()
    assert (vectorizer.fit_transform(np.asarray(texts)) == model.encode(texts)).all()
    assert vectorizer.get_feature_names_out()[:2].tolist() == ["vector0", "vector1"]
    labels = ["weather", "money"] * 2
    pipeline = make_pipeline(vectorizer, LogisticRegression())
    assert pipeline.fit(texts, labels).predict(["snow"]).tolist() == ["weather"]
    grid = {"contextualvectorizer__model": [model, model.static()]}
    assert GridSearchCV(pipeline, grid, cv=2).fit(texts, labels).best_score_ >= 0.5


def test_spans_become_the_mean_of_their_words() -> None:
    model = polyseme.load()
    text = "She ate a piece of cake"
    found = ContextualVectorizer(model, of="spans").fit_transform([(text, "piece of cake")])
    doc = model.contextualize(text)
    np.testing.assert_allclose(found[0], doc.vectors[3:].mean(axis=0), atol=1e-6)
    empty = ContextualVectorizer(model, of="spans").fit_transform([])
    assert empty.shape == (0, model.dim)
    with pytest.raises(UnusableError, match="row 0: 'pie' is not in its text"):
        ContextualVectorizer(model, of="spans").fit_transform([(text, "pie")])
    with pytest.raises(ValueError, match="of is 'words'"):
        ContextualVectorizer(model, of="words").fit()  # type: ignore[arg-type]
