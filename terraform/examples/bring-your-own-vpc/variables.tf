variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "vpc_id" {
  description = "Your VPC."
  type        = string
}

variable "private_subnet_id" {
  description = "A private subnet with a way out, for the controller."
  type        = string
}

variable "public_subnet_ids" {
  description = "Public subnets by zone, for sentries and load balancers."
  type        = map(string)
}

variable "prefix_list_ids" {
  description = "Your prefix lists: who may reach the controller's agents' port, the sentries' P2P and RPC ports, and their WireGuard port."
  type        = object({ agents = string, p2p = string, rpc = string, wireguard = string })
}

variable "ami_id" {
  description = "Machine image of all hosts, with Picket's programs in it."
  type        = string
}

variable "sts_issuer" {
  description = "The account's issuer of tokens: sentries prove themselves by their role here, so that another instance from the same image is nobody."
  type        = string
}

variable "ca_fingerprint" {
  description = "Fingerprint of the mesh's CA; null at the first apply."
  type        = string
  default     = null
}
