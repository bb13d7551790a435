// Eigenvalues of small symmetric matrices.
#pragma once
#include <vector>

namespace sfumato::eval {

using Vector = std::vector<double>;
using Vectors = std::vector<Vector>;  // the columns of a matrix, or its rows

// The eigenvalues, in no order, of a symmetric matrix, whose rows are overwritten: Householder's reduction to a
// tridiagonal matrix, then QR steps with Wilkinson's shift (Golub and Van Loan, Matrix Computations, 8.3.1 and 8.3.5).
// Each has an error of about 1e-15 times the largest. Not finite where the matrix is not.
Vector eigenvalues(Vectors& symmetric);

}  // namespace sfumato::eval
